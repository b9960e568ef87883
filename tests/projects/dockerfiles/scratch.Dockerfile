FROM scratch
COPY sub /sub
COPY a.txt /
ENV A=b
WORKDIR /work/here
USER 1:2
CMD ["/nothing"]
