FROM small:test
USER ana
WORKDIR /made/here
RUN pwd && id -u > /tmp/id
