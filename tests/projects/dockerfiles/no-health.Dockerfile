FROM small:test AS parent
HEALTHCHECK --retries=1 CMD true
FROM parent
HEALTHCHECK NONE
