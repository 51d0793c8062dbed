"""A running Jesse, spoken to over its dashboard's HTTP API and websocket."""
