FROM small:test
ENTRYPOINT ["cat"]
CMD []
