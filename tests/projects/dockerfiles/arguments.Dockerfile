ARG BASE=small
ARG VERSION=test
FROM ${BASE}:${VERSION}
ARG VERSION
ARG given
ARG default=unset
ARG replaced=unset
ARG combined=${default}-${given}
ENV KEPT=$given
LABEL version=$VERSION combined=$combined none="$BASE"
RUN echo "$VERSION $given $default $replaced $combined $BASE" > /words
