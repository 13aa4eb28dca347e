"""The killable evaluation worker: jq programs and costly CEL expressions run outside the service's own process."""
