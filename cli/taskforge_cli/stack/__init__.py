"""The local runtime: real PostgreSQL, Valkey and Envoy and the four services as processes of one user.

`LocalStack` in `local.py` is the front; everything else is a part of it.
"""
