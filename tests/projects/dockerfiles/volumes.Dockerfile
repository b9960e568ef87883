FROM small:test
COPY a.txt /state/before
VOLUME /state /other
VOLUME ["/with space", "/json"]
VOLUME /deep/er/path
COPY b.txt /state/copied
