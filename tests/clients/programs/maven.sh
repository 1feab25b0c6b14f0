# Maven
# needs: apt maven/mvn
# version: mvn --version
# heavy: it starts slowly
cat > pom.xml <<END
<project><modelVersion>4.0.0</modelVersion>
<parent><groupId>test.clients</groupId><artifactId>tiny-parent</artifactId><version>1.0</version><relativePath/></parent>
<artifactId>mine</artifactId><packaging>pom</packaging>
<repositories><repository><id>things</id><url>$URL/maven</url></repository></repositories></project>
END
mvn -q -B -Dmaven.repo.local=things validate && cat things/test/clients/tiny-parent/1.0/tiny-parent-1.0.pom
