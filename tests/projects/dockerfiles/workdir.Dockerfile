FROM small:test
WORKDIR /one
WORKDIR two
WORKDIR ./three/../four
RUN pwd > where
WORKDIR /tmp
WORKDIR "/with space"
RUN pwd > where
ENV place=/from/env
WORKDIR $place/deeper
