FROM scratch
COPY sub /sub
COPY a.txt /
ENV A=b
WORKDIR /place/here
USER 1:2
CMD ["/nothing"]
