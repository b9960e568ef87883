FROM small:test
RUN echo "$http_proxy $NO_PROXY" > /words
