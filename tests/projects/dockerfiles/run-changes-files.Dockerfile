FROM small:test
COPY . /context
RUN chmod 0700 /context/sub && chown 5:6 /context/sub/one && rm /context/a.txt && ln -s b.txt /context/a.txt
RUN rm -r /context/sub/deep && mkdir /context/sub/deep && echo new > /context/sub/deep/new
RUN chmod 4755 /context/script.sh && chmod 1777 /context/empty && touch /etc/group
RUN rm -r /home && ln /context/b.txt /context/hard && busybox mkfifo /fifo
RUN mkdir -p /opt/a/b && touch /opt/a/b/c && rm -r /opt/a && touch /opt/a
