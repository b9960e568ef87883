FROM small:test
COPY capable /capable
COPY --chown=ana capable /capable-chown
RUN busybox cp /capable /copied && chmod 0711 /capable
