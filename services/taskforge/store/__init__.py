"""PostgreSQL. The only package that imports asyncpg; all SQL lives in sql/*.sql and migrations/*.sql."""
