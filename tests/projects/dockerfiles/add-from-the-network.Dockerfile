FROM small:test
ADD http://127.0.0.1:@PORT@/files/page.txt /page
ADD http://127.0.0.1:@PORT@/files/page.txt /folder/
ADD http://127.0.0.1:@PORT@/files/pack.tar.gz /archives/
ADD --chown=ana:docs http://127.0.0.1:@PORT@/files/page.txt /owned
