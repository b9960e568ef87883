FROM small:test AS base
RUN echo base > /base
FROM base AS one
RUN echo one > /one
FROM base AS two
RUN echo two > /two
FROM scratch AS files
COPY --from=one /one /
COPY --from=two /two /
FROM base
COPY --from=files / /gathered/
CMD ["cat", "/gathered/one"]
