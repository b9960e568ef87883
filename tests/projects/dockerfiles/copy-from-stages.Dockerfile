FROM small:test AS build
RUN mkdir -p /out/sub && echo built > /out/result && chown 11:22 /out/result /out/sub && chmod 0700 /out/sub
RUN ln -s result /out/link && echo s > /out/sub/s && chmod 4711 /out/sub/s && chown 3:4 /out
RUN echo sealed > /sealed && chown ana:docs /sealed && chmod 0400 /sealed
FROM small:test
COPY --from=build /out /out
COPY --from=0 /out/result /result
COPY --from=BUILD out/link /link
COPY --from=build /sealed /sealed
COPY --from=build --chown=ana /out/sub /owned/
COPY --from=small:test /etc/passwd /from-image
COPY --from=build /out/ /out/s* /merged/
