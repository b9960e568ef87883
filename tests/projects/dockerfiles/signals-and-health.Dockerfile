FROM small:test
STOPSIGNAL 9
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=1m30s --timeout=3s --start-period=500ms --retries=5 CMD ["test", "-e", "/etc/passwd"]
