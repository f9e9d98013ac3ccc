CREATE TABLE `KEY` (
  `KEY` int DEFAULT NULL,
  `PRIMARY KEY` int DEFAULT NULL,
  `CONSTRAINT` int DEFAULT NULL,
  `UNIQUE` int NOT NULL,
  `FULLTEXT` int DEFAULT NULL,
  `PERIOD` int DEFAULT NULL,
  PRIMARY KEY (`UNIQUE`),
  KEY `CONSTRAINT` (`KEY`),
  KEY `FOREIGN KEY` (`PRIMARY KEY`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `m01_invis` (
  `id` int NOT NULL,
  `a` int DEFAULT NULL /*!80023 INVISIBLE */,
  `b` int NOT NULL DEFAULT '5' /*!80023 INVISIBLE */ COMMENT 'c',
  PRIMARY KEY (`id`),
  KEY `a` (`a`) /*!80000 INVISIBLE */,
  KEY `b` (`b` DESC,`a`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `m02_func` (
  `id` int NOT NULL,
  `j` json DEFAULT NULL,
  `s` varchar(50) DEFAULT (concat(_utf8mb4'a)(,',uuid())),
  PRIMARY KEY (`id`),
  UNIQUE KEY `f3` ((lower(`s`))),
  KEY `f1` ((cast(json_extract(`j`,_utf8mb4'$.x') as unsigned))),
  KEY `f2` ((concat(`s`,_utf8mb4'),`')),`id`),
  KEY `mv` ((cast(json_extract(`j`,_utf8mb4'$.a') as unsigned array))),
  CONSTRAINT `c1` CHECK ((`s` <> _utf8mb4',(')) /*!80016 NOT ENFORCED */
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `m03_ngram` (
  `id` int NOT NULL,
  `t` text,
  PRIMARY KEY (`id`),
  FULLTEXT KEY `ft` (`t`) COMMENT 'parser' /*!50100 WITH PARSER `ngram` */ 
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `m05_gipk` (
  `my_row_id` bigint unsigned NOT NULL AUTO_INCREMENT /*!80023 INVISIBLE */,
  `a` int DEFAULT NULL,
  `b` int DEFAULT NULL,
  PRIMARY KEY (`my_row_id`),
  UNIQUE KEY `b` (`b`),
  KEY `a` (`a`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `m06_desc_ai` (
  `a` bigint NOT NULL AUTO_INCREMENT,
  `b` int NOT NULL,
  PRIMARY KEY (`b`),
  KEY `d` (`a` DESC)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `m09_fkimplicit` (
  `id` int NOT NULL,
  `pid` int DEFAULT NULL,
  PRIMARY KEY (`id`),
  KEY `pid` (`pid`),
  CONSTRAINT `m09_fkimplicit_ibfk_1` FOREIGN KEY (`pid`) REFERENCES `t09_parent` (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t02_``odd, (names)
 KEY x` (
  `a,b` int NOT NULL,
  `c``d` int DEFAULT NULL,
  `(e)` int DEFAULT NULL,
  `KEY ``q`` (` varchar(30) DEFAULT 'it''s, (a) \\ test\n`',
  PRIMARY KEY (`a,b`),
  UNIQUE KEY `u,(``)` (`c``d`,`(e)`),
  KEY `), KEY` (`KEY ``q`` (`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci COMMENT='ENGINE=MyISAM '') PARTITION BY x'
;
CREATE TABLE `t03_comments` (
  `id` int NOT NULL COMMENT 'AUTO_INCREMENT, KEY (x)',
  `v` varchar(30) NOT NULL DEFAULT 'a\\''b),(' COMMENT 'PRIMARY KEY',
  PRIMARY KEY (`id`),
  UNIQUE KEY `uv` (`v`(5)),
  KEY `v` (`v`) COMMENT 'key ''comment'', with ) and \\'
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t04_nopk` (
  `a` int NOT NULL,
  `b` int DEFAULT NULL,
  UNIQUE KEY `ua` (`a`),
  UNIQUE KEY `ub` (`b`),
  KEY `ab` (`a`,`b`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t05_autoinc_key` (
  `a` int NOT NULL AUTO_INCREMENT,
  `b` int NOT NULL,
  PRIMARY KEY (`b`),
  KEY `z` (`b`,`a`),
  KEY `a1` (`a`,`b`),
  KEY `a2` (`a`)
) ENGINE=InnoDB AUTO_INCREMENT=77 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t06_autoinc_unique` (
  `a` int NOT NULL AUTO_INCREMENT,
  `b` int DEFAULT NULL,
  UNIQUE KEY `a2` (`a`),
  KEY `b` (`b`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t07_full` (
  `id` int NOT NULL,
  `t` text,
  `u` text,
  `g` geometry NOT NULL,
  `p` point NOT NULL,
  PRIMARY KEY (`id`),
  KEY `tt` (`t`(20)),
  SPATIAL KEY `sg` (`g`),
  SPATIAL KEY `sp` (`p`),
  FULLTEXT KEY `ft` (`t`),
  FULLTEXT KEY `fu` (`t`,`u`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t08_gen` (
  `id` int NOT NULL,
  `a` int DEFAULT NULL,
  `s` varchar(50) DEFAULT NULL,
  `g1` int GENERATED ALWAYS AS (((`a` + 1) * (`a` - 2))) STORED,
  `g2` varchar(100) GENERATED ALWAYS AS (concat(`s`,_utf8mb4'),(KEY `x` \'',_utf8mb4'é\\')) VIRTUAL COMMENT 'x',
  PRIMARY KEY (`id`),
  KEY `g1` (`g1`),
  KEY `g2` (`g2`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t09_parent` (
  `id` int NOT NULL,
  `x` int NOT NULL,
  `y` int NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `xy` (`x`,`y`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t10_child` (
  `id` int NOT NULL,
  `pid` int DEFAULT NULL,
  `x` int DEFAULT NULL,
  `y` int DEFAULT NULL,
  `we,ird` int DEFAULT NULL,
  PRIMARY KEY (`id`),
  KEY `pid` (`pid`),
  KEY `xy` (`x`,`y`),
  CONSTRAINT `fk,1``(` FOREIGN KEY (`pid`) REFERENCES `t09_parent` (`id`) ON DELETE CASCADE ON UPDATE SET NULL,
  CONSTRAINT `fk2` FOREIGN KEY (`x`, `y`) REFERENCES `t09_parent` (`x`, `y`),
  CONSTRAINT `ck` CHECK (((`x` > 0) and (`we,ird` <> 3)))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t12_myisam` (
  `id` int NOT NULL AUTO_INCREMENT,
  `g` int NOT NULL,
  `t` text,
  PRIMARY KEY (`g`,`id`),
  KEY `t` (`t`(10)),
  FULLTEXT KEY `f` (`t`)
) ENGINE=MyISAM DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t13_part` (
  `id` int NOT NULL AUTO_INCREMENT,
  `d` date NOT NULL,
  `s` varchar(20) DEFAULT NULL,
  PRIMARY KEY (`id`,`d`),
  UNIQUE KEY `u` (`d`,`s`,`id`),
  KEY `s` (`s`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
/*!50100 PARTITION BY RANGE (year(`d`))
(PARTITION p0 VALUES LESS THAN (2000) ENGINE = InnoDB,
 PARTITION p1 VALUES LESS THAN MAXVALUE COMMENT = 'a)b\'c' ENGINE = InnoDB) */
;
CREATE TABLE `t14_enum` (
  `id` int NOT NULL,
  `e` enum('a,b','c)','d''e','AUTO_INCREMENT') DEFAULT 'a,b',
  `s` set('x','y(') DEFAULT NULL,
  `b` bit(3) DEFAULT b'101',
  PRIMARY KEY (`id`),
  KEY `e` (`e`),
  KEY `b` (`b`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t15_opts` (
  `id` int NOT NULL,
  `h` int DEFAULT NULL,
  PRIMARY KEY (`id`),
  KEY `h` (`h`) USING BTREE KEY_BLOCK_SIZE=4,
  KEY `hd` (`h`,`id`)
) ENGINE=InnoDB DEFAULT CHARSET=latin1 STATS_PERSISTENT=0 ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8
;
CREATE TABLE `t17_onlypk` (
  `id` int NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t20_order` (
  `a` int NOT NULL,
  `b` int NOT NULL,
  `g` point NOT NULL,
  `h` geometry NOT NULL,
  `t` text,
  PRIMARY KEY (`a`,`b`),
  UNIQUE KEY `u2` (`a`),
  UNIQUE KEY `u1` (`b`),
  KEY `k1` (`a`),
  SPATIAL KEY `s1` (`g`),
  KEY `k2` (`b`),
  SPATIAL KEY `s2` (`h`),
  KEY `k3` (`a`,`b`),
  FULLTEXT KEY `f1` (`t`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t21_fkorder` (
  `a` int DEFAULT NULL,
  `b` int DEFAULT NULL,
  `c` int DEFAULT NULL,
  KEY `a` (`a`),
  KEY `b` (`b`),
  KEY `c` (`c`),
  CONSTRAINT `a` FOREIGN KEY (`b`) REFERENCES `t09_parent` (`id`),
  CONSTRAINT `m` FOREIGN KEY (`c`) REFERENCES `t09_parent` (`id`) ON DELETE SET NULL,
  CONSTRAINT `z` FOREIGN KEY (`a`) REFERENCES `t09_parent` (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t22_crossdb` (
  `a` int DEFAULT NULL,
  KEY `c` (`a`),
  CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `n2`.`other` (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t23_ai_mid` (
  `a` int NOT NULL AUTO_INCREMENT,
  `b` int NOT NULL,
  `c` int DEFAULT NULL,
  PRIMARY KEY (`b`),
  UNIQUE KEY `ua` (`a`),
  UNIQUE KEY `ub` (`b`,`c`),
  UNIQUE KEY `uc` (`c`),
  UNIQUE KEY `ud` (`c`,`b`),
  KEY `kc` (`c`),
  KEY `ka` (`a`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t24_fts` (
  `FTS_DOC_ID` bigint unsigned NOT NULL AUTO_INCREMENT,
  `id` int NOT NULL,
  `t` text,
  PRIMARY KEY (`id`),
  UNIQUE KEY `FTS_DOC_ID_INDEX` (`FTS_DOC_ID`),
  KEY `tt` (`t`(5)),
  FULLTEXT KEY `t` (`t`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t25_part2` (
  `id` int NOT NULL,
  `s` varchar(20) NOT NULL,
  PRIMARY KEY (`id`,`s`),
  KEY `s` (`s`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
/*!50500 PARTITION BY LIST  COLUMNS(s)
SUBPARTITION BY HASH (`id`)
SUBPARTITIONS 2
(PARTITION p1 VALUES IN ('a)','b'',(') ENGINE = InnoDB,
 PARTITION p2 VALUES IN ('ENGINE=MyISAM') ENGINE = InnoDB) */
;
CREATE TABLE `t26_nbe` (
  `id` int NOT NULL,
  `s` varchar(20) DEFAULT 'a\\',
  `g` varchar(60) GENERATED ALWAYS AS (concat(`s`,_utf8mb4'x\\',_utf8mb4')')) VIRTUAL COMMENT 'c\\',
  PRIMARY KEY (`id`),
  KEY `g` (`g`),
  CONSTRAINT `c` CHECK ((`s` <> _utf8mb4'z\\,('))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci
;
CREATE TABLE `t27_gbk` (
  `id` int NOT NULL,
  `s` varchar(20) CHARACTER SET gbk COLLATE gbk_chinese_ci DEFAULT '誠',
  `g` varchar(60) CHARACTER SET sjis COLLATE sjis_japanese_ci GENERATED ALWAYS AS (concat(_utf8mb4'ソ',_utf8mb4',(')) VIRTUAL,
  PRIMARY KEY (`id`),
  KEY `s` (`s`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci COMMENT='誠 '' ,('
;
