"""What is said of an image beside it: what is in it (SBOM), and how it came to be (provenance).

Owns the documents (SPDX 2.3, SLSA provenance 1, in-toto statements), how BuildKit lays them beside an image, and the reading of
package databases out of an image's files, of which nothing is run. Decides nothing of builds, and stores nothing.
"""
