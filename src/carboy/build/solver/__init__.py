"""Carrying a graph out: bases (``bases``), downloads (``downloads``), what is cached and what runs beside what
(``solver``), one step (``steps``), and the image of it all (``image``).
"""
