FROM small:test
RUN mkdir -m 2775 /setgid && touch /setgid/file && mkdir -m 0000 /closed && touch /etc/motd && chmod 0600 /etc/motd
RUN mkdir /sticky && chmod 1755 /sticky && echo x > /sticky/-dash && echo y > "/sticky/white space" && echo z > /sticky/ünï
COPY sub/deep /closed/
