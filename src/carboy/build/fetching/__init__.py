"""What of a plan asks the world, carried out for a bundle: each kind of step has its files fetched into the caches, and noted.

This room walks a plan as a build does, makes of it what later steps stand on, and writes no image. What a bundle holds of each
kind is said in ``build.bundles``, and so is how it is served again.
"""
