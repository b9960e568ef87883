ARG shared=global
FROM small:test AS first
ARG shared
ARG own=first
RUN echo "$shared $own" > /words
FROM first AS second
RUN echo "$shared" > /second
FROM small:test
ARG shared=here
COPY --from=second /words /second /
RUN echo "$shared $own" > /last
