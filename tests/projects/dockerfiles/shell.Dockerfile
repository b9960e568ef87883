FROM small:test
SHELL ["/bin/sh", "-e", "-c"]
RUN echo "$0 $-" > /words; echo more >> /words
CMD echo "$-"
ENTRYPOINT exec sh
