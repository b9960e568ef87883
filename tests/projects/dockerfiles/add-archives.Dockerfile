FROM small:test
ADD pack.tar /tar
ADD pack.tar.gz /gzip/
ADD pack.tar.bz2 /bzip2
ADD pack.tar.xz /xz
ADD disguised.txt /disguised/
ADD not-a-tar.gz /plain.gz
ADD a.txt pack.tar /mixed/
ADD sub /folder
ADD pack.tar /
