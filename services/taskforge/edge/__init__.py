"""The one public door: the Envoy configuration template, its renderer and the public descriptor set."""
