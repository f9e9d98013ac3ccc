-- What only MySQL knows, and users as it knows them. Follows common.sql in the same session.

CREATE DATABASE zoo_own CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci;
USE zoo_own;

CREATE TABLE places (
    id INT PRIMARY KEY, p POINT NOT NULL SRID 4326, q POINT NOT NULL SRID 0, g GEOMETRY SRID 3857, SPATIAL KEY (p), SPATIAL KEY (q)
);
INSERT INTO places VALUES
    (1, ST_GeomFromText('POINT(48.5 9.25)', 4326), ST_GeomFromText('POINT(1 2)'), ST_GeomFromText('POINT(1 1)', 3857)),
    (2, ST_GeomFromText('POINT(-90 180)', 4326), ST_GeomFromText('POINT(0 0)'), ST_GeomFromText('GEOMETRYCOLLECTION EMPTY', 3857));

CREATE TABLE vectors (id INT PRIMARY KEY, v VECTOR(3), w VECTOR);
INSERT INTO vectors VALUES (1, TO_VECTOR('[1, -2.5, 3e38]'), TO_VECTOR('[0.1]')), (2, NULL, NULL), (3, X'0A0000005C4E09000D00275C', TO_VECTOR('[0, 0, 0, 0]'));

CREATE TABLE functional (
    id INT PRIMARY KEY, j JSON, name VARCHAR(50),
    KEY lower_name ((LOWER(name)), id DESC), KEY tags ((CAST(j -> '$.tags' AS CHAR(20) ARRAY))), UNIQUE KEY `it's "ä"` ((CONCAT(name, 'ä\\''')))
);
INSERT INTO functional VALUES (1, '{"tags": ["a", "b"]}', 'One'), (2, '{"tags": []}', 'TWO'), (3, NULL, NULL);
CREATE TABLE unseen_key (id INT PRIMARY KEY, v INT, KEY v (v) INVISIBLE, CONSTRAINT unforced CHECK (v > 10) NOT ENFORCED);
INSERT INTO unseen_key VALUES (1, 1);

-- A key that nothing shows unless asked.
SET SESSION sql_generate_invisible_primary_key = ON;
CREATE TABLE generated_key (v VARCHAR(20));
INSERT INTO generated_key VALUES ('a'), ('b'), ('b'), (NULL);
DELETE FROM generated_key WHERE v = 'a';
SET SESSION sql_generate_invisible_primary_key = OFF;

CREATE TABLE collations (
    id INT PRIMARY KEY, a VARCHAR(20), b VARCHAR(20) COLLATE utf8mb4_ja_0900_as_cs, c VARCHAR(20) COLLATE utf8mb4_de_pb_0900_as_cs,
    d VARCHAR(20) COLLATE utf8mb4_0900_bin, e VARCHAR(20) CHARACTER SET gb18030, UNIQUE KEY (a), UNIQUE KEY (d)
);
INSERT INTO collations VALUES (1, 'ä', 'か', 'ß', 'a', '㐀😀'), (2, 'b ', 'ガ', 'ss', 'a ', '中'), (3, 'b', NULL, NULL, 'A', '');
CREATE TABLE key_ai_ci (k VARCHAR(40) PRIMARY KEY, v INT);
INSERT INTO key_ai_ci VALUES ('a', 1), ('B', 2), ('é', 3), ('ß', 4), ('Ü 中', 5), ('', 6), (' ', 7), ('😀', 8);

CREATE TABLE numbers (j JSON, CONSTRAINT u CHECK (JSON_VALID(j)), n FLOAT UNSIGNED, d DEC(5, 2) ZEROFILL, y YEAR DEFAULT 2020);
INSERT INTO numbers VALUES ('{"aa": 1, "b": 2, "a": 3, "b": 4}', 1e-10, 1.5, DEFAULT);
CREATE TABLE documents (id INT PRIMARY KEY, j JSON, g VARCHAR(20) AS (j ->> '$.a') VIRTUAL, KEY (g), h JSON AS (JSON_EXTRACT(j, '$.b')) STORED);
INSERT INTO documents (id, j) VALUES (1, '{"a": "x", "b": [1, 2]}'), (2, '{"a": "0123456789"}'), (3, NULL);
-- A value that is changed within leaves other bytes in the page.
UPDATE documents SET j = JSON_SET(j, '$.a', 'yy') WHERE id = 2;

CREATE TABLE instant (id INT PRIMARY KEY, a INT);
INSERT INTO instant VALUES (1, 1);
ALTER TABLE instant ADD COLUMN b VARCHAR(10) DEFAULT 'added' FIRST, ALGORITHM = INSTANT;
INSERT INTO instant VALUES ('x', 2, 2);
ALTER TABLE instant DROP COLUMN a, ALGORITHM = INSTANT;

-- A reference to a key that is not unique, as old versions allowed.
SET SESSION restrict_fk_on_non_standard_key = OFF;
CREATE TABLE loose_parent (id INT PRIMARY KEY, g INT, KEY (g));
CREATE TABLE loose_child (id INT PRIMARY KEY, g INT, FOREIGN KEY (g) REFERENCES loose_parent (g));
INSERT INTO loose_parent VALUES (1, 1), (2, 1);
INSERT INTO loose_child VALUES (1, 1);
SET SESSION restrict_fk_on_non_standard_key = DEFAULT;

CREATE TABLE compressed (id INT PRIMARY KEY, t TEXT) COMPRESSION = 'zlib' AUTOEXTEND_SIZE = 4M;
INSERT INTO compressed VALUES (1, REPEAT('x', 10000));
CREATE TABLE attributes (id INT PRIMARY KEY SECONDARY_ENGINE_ATTRIBUTE = '{"a": 1}') SECONDARY_ENGINE_ATTRIBUTE = '{"b": "ä"}';
CREATE TABLE generated_only (g INT AS (1 + 1) STORED);
INSERT INTO generated_only () VALUES (), ();

CREATE FUNCTION uses_json(j JSON) RETURNS JSON DETERMINISTIC RETURN JSON_SET(j, '$.x', 'ä');
CREATE VIEW tables AS SELECT * FROM JSON_TABLE('[1, 2]', '$[*]' COLUMNS (n INT PATH '$')) AS t;

CREATE LIBRARY `lib's "ü"` COMMENT 'it''s "ä"' LANGUAGE JAVASCRIPT AS $body$ export function f(n) { return n + "ä;; \\" } $body$;
CREATE FUNCTION `js's`(n INT) RETURNS INT DETERMINISTIC LANGUAGE JAVASCRIPT USING (`lib's "ü"` AS m) AS $body$ return m.f(n) // ä;; '" $body$;
CREATE JSON DUALITY VIEW `dual's "ü"` AS SELECT JSON_DUALITY_OBJECT('_id': id, 'v': v) FROM unseen_key;

-- A database that may only be read.
CREATE DATABASE zoo_read_only;
CREATE TABLE zoo_read_only.t (id INT PRIMARY KEY);
INSERT INTO zoo_read_only.t VALUES (1);
ALTER DATABASE zoo_read_only READ ONLY = 1;

-- Users and roles.
CREATE ROLE reader, `writer's "ü"`@localhost, `all`;
GRANT SELECT ON zoo.* TO reader;
GRANT INSERT, UPDATE, DELETE ON zoo.* TO `writer's "ü"`@localhost;
GRANT reader TO `writer's "ü"`@localhost;
GRANT `writer's "ü"`@localhost, reader TO `all` WITH ADMIN OPTION;
CREATE USER 'o''neil'@'%' IDENTIFIED WITH caching_sha2_password BY 'pass ''word" \\ ä' DEFAULT ROLE `all` REQUIRE SSL;
GRANT `all` TO 'o''neil'@'%';
SET DEFAULT ROLE `all` TO 'o''neil'@'%';
CREATE USER '中 "ü"%_`'@'10.0.0.0/255.0.0.0' IDENTIFIED BY 'x' REQUIRE SUBJECT '/C=DE/CN=it''s' AND ISSUER '/CN=ca' AND CIPHER 'ECDHE-RSA-AES256-GCM-SHA384'
    WITH MAX_QUERIES_PER_HOUR 1 MAX_UPDATES_PER_HOUR 2 MAX_CONNECTIONS_PER_HOUR 3 MAX_USER_CONNECTIONS 4
    PASSWORD EXPIRE INTERVAL 90 DAY PASSWORD HISTORY 5 PASSWORD REUSE INTERVAL 365 DAY PASSWORD REQUIRE CURRENT FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME UNBOUNDED;
CREATE USER locked@localhost IDENTIFIED BY 'x' PASSWORD EXPIRE NEVER ACCOUNT LOCK COMMENT 'it''s "a" \\ comment ä';
CREATE USER described@`%.example.com` IDENTIFIED BY 'old' ATTRIBUTE '{"team": "ä''s", "n": [1, 2]}';
CREATE USER expired@localhost IDENTIFIED BY 'x' PASSWORD EXPIRE;
CREATE USER ''@localhost;
CREATE USER nobody@`fe80::1`;
CREATE USER sha@localhost IDENTIFIED WITH sha256_password BY 'x';
GRANT SELECT (id, `it's`), INSERT (id), REFERENCES (id) ON zoo.generated TO 'o''neil'@'%';
GRANT SELECT, SHOW VIEW ON `zoo\_%`.* TO locked@localhost WITH GRANT OPTION;
GRANT SELECT ON `Zoo ä'"``/.%_\中
	-`.* TO locked@localhost;
GRANT SELECT, ALTER ON `Zoo ä'"``/.%_\中
	-`.` lead``'"ü/.\%s_中
	;--#` TO locked@localhost;
GRANT EXECUTE ON PROCEDURE zoo.`do it's ``all`` ü中` TO locked@localhost;
GRANT EXECUTE, ALTER ROUTINE ON FUNCTION zoo.twice TO described@`%.example.com`;
GRANT RELOAD, PROCESS, BACKUP_ADMIN, REPLICATION CLIENT ON *.* TO described@`%.example.com`;
GRANT SYSTEM_VARIABLES_ADMIN ON *.* TO described@`%.example.com` WITH GRANT OPTION;
GRANT PROXY ON reader TO described@`%.example.com` WITH GRANT OPTION;
GRANT ALL ON zoo_latin.* TO nobody@`fe80::1`;
