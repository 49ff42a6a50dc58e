"""Ground floor: settings, engine and sessions, roles, users, embedded PostgreSQL. Imports nothing from above."""
