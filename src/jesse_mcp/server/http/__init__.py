"""The server on a network: who comes in, how often, and how it is watched."""
