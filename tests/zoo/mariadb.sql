-- What only MariaDB knows, and users as it knows them. Follows common.sql in the same session, once the engines and
-- plugins that are not built in are installed.

CREATE DATABASE zoo_own CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_german2_ai_ci COMMENT 'it''s "ä" \\';
USE zoo_own;

CREATE SEQUENCE plain;
SELECT NEXTVAL(plain), NEXTVAL(plain);
CREATE SEQUENCE `it's "ü" ``seq``` START WITH -5 INCREMENT BY -3 MINVALUE -100 MAXVALUE 100 CACHE 10 CYCLE;
SELECT NEXTVAL(`it's "ü" ``seq```);
CREATE SEQUENCE uncached START WITH 9000000000000000000 NOCACHE;
SELECT SETVAL(uncached, 9000000000000000005, TRUE);
CREATE SEQUENCE untouched START WITH 42 INCREMENT BY 7;
CREATE TABLE numbered (id BIGINT DEFAULT (NEXT VALUE FOR plain) PRIMARY KEY, v INT);
INSERT INTO numbered (v) VALUES (1), (2);

-- History, at moments of its own.
SET @@timestamp = 1600000000.123456;
CREATE TABLE versioned (id INT PRIMARY KEY, v VARCHAR(20), secret INT WITHOUT SYSTEM VERSIONING) WITH SYSTEM VERSIONING;
INSERT INTO versioned VALUES (1, 'first', 1), (2, 'ä\t', 2), (3, NULL, 3);
SET @@timestamp = 1600000100.5;
UPDATE versioned SET v = 'second' WHERE id = 1;
SET @@timestamp = 1600000200;
DELETE FROM versioned WHERE id = 2;
UPDATE versioned SET v = 'third' WHERE id = 1;
SET @@timestamp = 1600000300;
CREATE TABLE versioned_explicit (
    id INT PRIMARY KEY, v INT, `from's` TIMESTAMP(6) GENERATED ALWAYS AS ROW START INVISIBLE, `to` TIMESTAMP(6) GENERATED ALWAYS AS ROW END,
    PERIOD FOR SYSTEM_TIME (`from's`, `to`)
) WITH SYSTEM VERSIONING;
INSERT INTO versioned_explicit (id, v) VALUES (1, 1), (2, 2);
SET @@timestamp = 1600000400;
UPDATE versioned_explicit SET v = 10 WHERE id = 1;
DELETE FROM versioned_explicit WHERE id = 2;
SET @@timestamp = DEFAULT;
CREATE TABLE periods (id INT, a DATE, b DATE, v INT, PERIOD FOR p (a, b), UNIQUE KEY (id, p WITHOUT OVERLAPS));
INSERT INTO periods VALUES (1, '2020-01-01', '2021-01-01', 1), (1, '2021-01-01', '2022-01-01', 2);

CREATE TABLE addresses (u UUID PRIMARY KEY, six INET6, four INET4, d UUID DEFAULT '00000000-0000-0000-0000-000000000000');
INSERT INTO addresses VALUES
    ('123e4567-e89b-12d3-a456-426655440000', '2001:db8::ff00:42:8329', '192.168.0.1', DEFAULT),
    ('ffffffff-ffff-ffff-ffff-ffffffffffff', '::', '0.0.0.0', NULL),
    ('00000000-0000-0000-0000-000000000000', '::ffff:1.2.3.4', '255.255.255.255', NULL),
    ('5c4e0a09-0d00-11ee-be56-0242ac120002', NULL, NULL, NULL);
CREATE TABLE compressed (id INT PRIMARY KEY, t TEXT COMPRESSED, b VARBINARY(500) COMPRESSED) PAGE_COMPRESSED = 1;
INSERT INTO compressed VALUES (1, REPEAT('x', 10000), REPEAT(X'005C', 200)), (2, '', NULL);
CREATE TABLE of_aria (id INT PRIMARY KEY, t TEXT) ENGINE = Aria TRANSACTIONAL = 1 PAGE_CHECKSUM = 1;
INSERT INTO of_aria VALUES (1, 'ä'), (2, NULL);
CREATE TABLE of_aria_plain (id INT AUTO_INCREMENT PRIMARY KEY) ENGINE = Aria TRANSACTIONAL = 0 ROW_FORMAT = FIXED;
INSERT INTO of_aria_plain VALUES (1), (100);
CREATE TABLE places (id INT PRIMARY KEY, p POINT REF_SYSTEM_ID = 4326 NOT NULL, SPATIAL KEY (p));
INSERT INTO places VALUES (1, ST_GeomFromText('POINT(9.25 48.5)', 4326));
CREATE TABLE ignored_key (id INT PRIMARY KEY, v INT, KEY v (v) IGNORED, w INT INVISIBLE NOT NULL DEFAULT 5);
INSERT INTO ignored_key (id, v, w) VALUES (1, 1, 1), (2, NULL, 2);
CREATE TABLE unique_blob (id INT PRIMARY KEY, b BLOB, UNIQUE KEY (b));
INSERT INTO unique_blob VALUES (1, 'x'), (2, REPEAT('y', 5000)), (3, NULL);
CREATE TABLE field_checks (a INT CHECK (a > 0), b VARCHAR(10) CHECK (b <> 'it''s'), c INT DEFAULT (a + 1));
INSERT INTO field_checks (a, b) VALUES (1, 'x');
CREATE TABLE instant (id INT PRIMARY KEY, a INT);
INSERT INTO instant VALUES (1, 1);
ALTER TABLE instant ADD COLUMN b VARCHAR(10) DEFAULT 'added' FIRST, ALGORITHM = INSTANT;
INSERT INTO instant VALUES ('x', 2, 2);
ALTER TABLE instant DROP COLUMN a, ALGORITHM = INSTANT;
CREATE TABLE documents (id INT PRIMARY KEY, j JSON);
INSERT INTO documents VALUES (1, '{ "b":1,  "a":1e400, "b" : 2 }'), (2, ' [1.0,  1.00]\n');
CREATE TABLE collations (id INT PRIMARY KEY, a VARCHAR(20), b VARCHAR(20) COLLATE utf8mb4_nopad_bin, c VARCHAR(20) COLLATE uca1400_as_cs, UNIQUE KEY (b));
INSERT INTO collations VALUES (1, 'ä', 'a', 'ß'), (2, 'b', 'a ', 'ss');

SET SESSION sql_mode = ORACLE;
DELIMITER $$
CREATE PROCEDURE oracle_mode(a IN INT, b OUT VARCHAR2(20)) AS
    c INT := 1;
BEGIN
    b := 'x' || a || "c"; -- ; ä
END;
$$
CREATE PACKAGE pack AS
    FUNCTION f RETURN INT;
END;
$$
CREATE PACKAGE BODY pack AS
    FUNCTION f RETURN INT AS BEGIN RETURN 1; END;
END;
$$
DELIMITER ;
SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES';
DELIMITER $$
CREATE AGGREGATE FUNCTION longest(x TEXT) RETURNS TEXT DETERMINISTIC
BEGIN
    DECLARE found TEXT DEFAULT '';
    DECLARE CONTINUE HANDLER FOR NOT FOUND RETURN found;
    LOOP
        FETCH GROUP NEXT ROW;
        IF LENGTH(x) > LENGTH(found) THEN SET found = x; END IF;
    END LOOP;
END$$
DELIMITER ;

-- Users and roles.
CREATE ROLE reader;
CREATE ROLE `writer's "ü"` WITH ADMIN root@localhost;
CREATE ROLE `all`;
GRANT SELECT ON zoo.* TO reader;
GRANT INSERT, UPDATE, DELETE ON zoo.* TO `writer's "ü"`;
GRANT reader TO `writer's "ü"`;
GRANT `writer's "ü"` TO `all` WITH ADMIN OPTION;
CREATE USER 'o''neil'@'%' IDENTIFIED BY 'pass ''word" \\ ä' REQUIRE SSL;
GRANT `all` TO 'o''neil'@'%';
SET DEFAULT ROLE `all` FOR 'o''neil'@'%';
CREATE USER '中 "ü"%_`'@'10.0.0.0/255.0.0.0' IDENTIFIED VIA ed25519 USING PASSWORD('x') REQUIRE SUBJECT '/C=DE/CN=it''s' AND ISSUER '/CN=ca'
    WITH MAX_QUERIES_PER_HOUR 1 MAX_UPDATES_PER_HOUR 2 MAX_CONNECTIONS_PER_HOUR 3 MAX_USER_CONNECTIONS 4 MAX_STATEMENT_TIME 5 PASSWORD EXPIRE INTERVAL 90 DAY;
CREATE USER locked@localhost IDENTIFIED VIA mysql_native_password USING '*94BDCEBE19083CE2A1F959FD02F964C7AF4CFC29' PASSWORD EXPIRE NEVER ACCOUNT LOCK;
CREATE USER several@`%.example.com` IDENTIFIED VIA ed25519 USING PASSWORD('x') OR mysql_native_password USING PASSWORD('y') OR unix_socket;
CREATE USER expired@localhost IDENTIFIED BY 'x' PASSWORD EXPIRE;
CREATE USER ''@localhost;
GRANT SELECT (id, `it's`), INSERT (id), REFERENCES (id) ON zoo.generated TO 'o''neil'@'%';
GRANT SELECT, SHOW VIEW ON `zoo\_%`.* TO locked@localhost WITH GRANT OPTION;
GRANT SELECT ON `Zoo ä'"``/.%_\中
	-`.* TO locked@localhost;
GRANT SELECT, ALTER ON `Zoo ä'"``/.%_\中
	-`.` lead``'"ü/.\%s_中
	;--#` TO locked@localhost;
GRANT EXECUTE ON PROCEDURE zoo.`do it's ``all`` ü中` TO locked@localhost;
GRANT EXECUTE, ALTER ROUTINE ON FUNCTION zoo.twice TO several@`%.example.com`;
GRANT RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR ON *.* TO several@`%.example.com`;
GRANT DELETE HISTORY ON zoo_own.versioned TO several@`%.example.com`;
GRANT PROXY ON 'o''neil'@'%' TO several@`%.example.com` WITH GRANT OPTION;
GRANT SELECT ON zoo.nothing TO PUBLIC;
