FROM small:test
RUN id > /id-root
USER ana
RUN id > /tmp/id-ana && echo "$HOME" > /tmp/home-ana && touch /tmp/mine
USER ana:docs
RUN id > /tmp/id-ana-docs
USER 1000:2001
RUN id > /tmp/id-numbers && touch /tmp/numbers
USER 4321
RUN id > /tmp/id-unknown && echo "$HOME" > /tmp/home-unknown
COPY a.txt /tmp/copied
USER daemon
