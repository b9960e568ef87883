FROM small:test
COPY --chown=ana a.txt /by-name
COPY --chown=ana:docs a.txt /by-names
COPY --chown=1000 a.txt /by-number
COPY --chown=12:34 sub /folder
COPY --chown=55:66 a.txt /made/on/the/way
ADD --chown=ana:data pack.tar /unpacked/
ADD --chown=9 b.txt /added
USER ana
COPY a.txt /home/ana/file
