"""R packages: what a folder's files ask for, and where each is had: as the distribution's package, or as source.

A package of the distribution is preferred where its version is the one that is asked for; it goes where the distribution puts
it. Source is installed by R inside the sandbox, into the library that R looks through first. The room refuses to read
package archives of a distribution: who calls it says what there is.
"""
