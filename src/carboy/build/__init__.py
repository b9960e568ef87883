"""From a folder to an image: facts (``project``), a plan (``plan``, pure), and its execution (``executor``).

The room refuses to know what starts a build and what becomes of the image.
"""
