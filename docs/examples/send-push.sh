#!/bin/sh
# Sends a push as GitHub does, signed with the sender's secret: to try the receiver out.
#
#   URL=http://127.0.0.1:4210 SECRET=… COMMIT=$(git rev-parse HEAD) sh docs/examples/send-push.sh
#
# For a try alone: openssl takes the secret on its command line, where others on this machine can read it.
set -eu
: "${URL:?where the receiver is}" "${SECRET:?the value of the sender's secret}" "${COMMIT:?the commit that was pushed}"
BRANCH=${BRANCH:-main} REPOSITORY=${REPOSITORY:-example/pyplots}

BODY=$(printf '{"ref": "refs/heads/%s", "after": "%s", "repository": {"full_name": "%s"}}' \
  "$BRANCH" "$COMMIT" "$REPOSITORY")
SIGNATURE=$(printf '%s' "$BODY" | openssl dgst -sha256 -hmac "$SECRET" | sed 's/^.* //')

printf '%s' "$BODY" | curl --fail-with-body --silent --show-error --max-time 30 --data-binary @- \
  --header 'Content-Type: application/json' --header 'X-GitHub-Event: push' \
  --header "X-GitHub-Delivery: try-$COMMIT" --header "X-Hub-Signature-256: sha256=$SIGNATURE" \
  "$URL/hooks/github"
echo
