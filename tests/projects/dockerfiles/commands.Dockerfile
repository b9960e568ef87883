FROM small:test
CMD ["cat", "/etc/passwd"]
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo \"one\"", "two"]
