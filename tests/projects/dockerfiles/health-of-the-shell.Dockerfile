FROM small:test
HEALTHCHECK CMD cat /etc/passwd || exit 1
