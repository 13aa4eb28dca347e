"""The protocol between scheduler, executors and database as a model, and a search through everything it can do.

- `transactions`  the database: they decide with the product's own `advance`; the fences restate the SQL
- `protocol`      executors, messages, time and faults around it
- `properties`    what no transaction may do
- `checker`       the search, which knows nothing of all that
"""
