FROM small:test AS parent
CMD ["inherited"]
FROM parent
ENTRYPOINT ["cat"]
