FROM small:test AS parent
ENTRYPOINT ["cat"]
CMD ["word"]
FROM parent
ENTRYPOINT []
