FROM small:test
COPY sub /a
RUN rm -r /a && mkdir /a && echo 1 > /a/only
RUN rm -r /a
RUN echo file > /a
RUN rm /a && mkdir -p /a/b/c && rm -r /home /var
RUN mkdir /home && rm /a/b/c/nothing 2>/dev/null || true; touch /.hidden
