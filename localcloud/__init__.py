"""The embedded Google Cloud: Google's APIs over Google's wire protocols, with real processes and a real PostgreSQL.

Nothing in production imports this package: flows and tasks know it by its endpoint alone.
"""
