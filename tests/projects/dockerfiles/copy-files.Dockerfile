FROM small:test
COPY a.txt /as-file
COPY a.txt b.txt /folder/
COPY a.txt /new/folder/
COPY script.sh /bin/
COPY ["with space.txt", "sub/one", "/json/"]
COPY set-user-id read-only /modes/
COPY a.txt b.txt /etc/
COPY a.txt /a/b/c/d
COPY ./sub/../a.txt /cleaned
COPY /a.txt /absolute
COPY a.txt relative
WORKDIR /work
COPY a.txt .
COPY b.txt ./deeper/
