"""The use cases on containers: asked for (``request``), made and started (``create``, ``run``), found, shown and ended."""
