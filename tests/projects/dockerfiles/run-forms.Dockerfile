FROM small:test
RUN ["/bin/sh", "-c", "echo exec \"$0\" > /exec"]
RUN echo 'single  $PATH' "double  $PATH" > /shell
RUN echo one; echo two > /two && (cd /home && pwd > where) ; umask > /umask
RUN ["busybox", "mkdir", "-p", "/made/by/exec"]
RUN id > /id; pwd > /pwd; hostname > /dev/null
