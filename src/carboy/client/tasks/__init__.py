"""Python functions run in containers: what travels (``wire``), the function (``source``), the far end (``runner``), the pool."""
