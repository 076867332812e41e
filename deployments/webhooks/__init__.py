"""The webhook receiver: proves who sent a delivery, writes it into the inbox, acknowledges it, and hands it over.

Safety property: nothing of a request is looked at beyond its headers before it is proved to be authentic, and nothing
is acknowledged before it is on disk. An answer never says why a signature was wrong.
"""
