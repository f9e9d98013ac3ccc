CREATE TABLE `r01_ver` (
  `id` int(11) NOT NULL,
  `a` int(11) DEFAULT NULL,
  `s` timestamp(6) GENERATED ALWAYS AS ROW START INVISIBLE,
  `e` timestamp(6) GENERATED ALWAYS AS ROW END INVISIBLE,
  PRIMARY KEY (`id`,`e`),
  KEY `a` (`a`),
  PERIOD FOR SYSTEM_TIME (`s`, `e`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci WITH SYSTEM VERSIONING
;
CREATE TABLE `r02_ver` (
  `id` int(11) NOT NULL,
  `a` int(11) DEFAULT NULL,
  `b` int(11) DEFAULT NULL WITHOUT SYSTEM VERSIONING,
  PRIMARY KEY (`id`),
  KEY `a` (`a`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci WITH SYSTEM VERSIONING
;
CREATE TABLE `r03_period` (
  `id` int(11) NOT NULL,
  `d1` date NOT NULL,
  `d2` date NOT NULL,
  `a` int(11) DEFAULT NULL,
  PERIOD FOR `app` (`d1`, `d2`),
  PRIMARY KEY (`id`,`app` WITHOUT OVERLAPS),
  UNIQUE KEY `u` (`a`,`app` WITHOUT OVERLAPS),
  KEY `a` (`a`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci
;
CREATE TABLE `r04_ign` (
  `id` int(11) NOT NULL,
  `a` int(11) INVISIBLE DEFAULT 3,
  `u` uuid DEFAULT NULL,
  `i` inet6 DEFAULT NULL,
  PRIMARY KEY (`id`),
  KEY `a` (`a`) IGNORED,
  KEY `u` (`u`),
  KEY `i` (`i`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci
;
CREATE TABLE `r05_aria` (
  `id` int(11) NOT NULL,
  `a` int(11) DEFAULT NULL,
  PRIMARY KEY (`id`),
  KEY `a` (`a`)
) ENGINE=Aria DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci PAGE_CHECKSUM=1 TRANSACTIONAL=1
;
CREATE TABLE `r06_def` (
  `id` int(11) NOT NULL DEFAULT (1 + 1),
  `s` varchar(20) DEFAULT concat('a)',',`'),
  `v` int(11) GENERATED ALWAYS AS (`id` + 1) STORED,
  `c` int(11) DEFAULT NULL CHECK (`c` > 0 and `s` <> ',('),
  PRIMARY KEY (`id`),
  KEY `v` (`v`),
  KEY `s` (`s`),
  CONSTRAINT `x,y` CHECK (`c` < 100)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci
;
CREATE TABLE `r07_hashuniq` (
  `id` int(11) NOT NULL,
  `t` text DEFAULT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `t` (`t`) USING HASH,
  KEY `tp` (`t`(10))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci
;
CREATE TABLE `r08_comp` (
  `id` int(11) NOT NULL,
  `t` text /*M!100301 COMPRESSED*/ DEFAULT NULL,
  `a` int(11) DEFAULT NULL,
  PRIMARY KEY (`id`),
  KEY `a` (`a`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci `PAGE_COMPRESSED`='1'
;
CREATE TABLE `r09_verpart` (
  `id` int(11) DEFAULT NULL,
  `a` int(11) DEFAULT NULL,
  KEY `a` (`a`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci WITH SYSTEM VERSIONING
 PARTITION BY SYSTEM_TIME 
(PARTITION `p0` HISTORY ENGINE = InnoDB,
 PARTITION `pn` CURRENT ENGINE = InnoDB)
;
CREATE TABLE `r11_verfk` (
  `id` int(11) NOT NULL,
  `p` int(11) DEFAULT NULL,
  PRIMARY KEY (`id`),
  KEY `v` (`p`),
  CONSTRAINT `v` FOREIGN KEY (`p`) REFERENCES `t09_parent` (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci WITH SYSTEM VERSIONING
;
CREATE TABLE `r12_nullu` (
  `id` int(11) NOT NULL,
  `a` int(11) DEFAULT NULL,
  `b` int(11) NOT NULL,
  `t` text DEFAULT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `ub` (`b`),
  UNIQUE KEY `ua` (`a`),
  UNIQUE KEY `uab` (`a`,`b`),
  UNIQUE KEY `ut` (`t`) USING HASH
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci
;
CREATE TABLE `t02_``odd, (names)
 KEY x` (
  `a,b` int(11) NOT NULL,
  `c``d` int(11) DEFAULT NULL,
  `(e)` int(11) DEFAULT NULL,
  `KEY ``q`` (` varchar(30) DEFAULT 'it''s, (a) \\ test\n`',
  PRIMARY KEY (`a,b`),
  UNIQUE KEY `u,(``)` (`c``d`,`(e)`),
  KEY `), KEY` (`KEY ``q`` (`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci COMMENT='ENGINE=MyISAM '') PARTITION BY x'
;
CREATE TABLE `t10_child` (
  `id` int(11) NOT NULL,
  `pid` int(11) DEFAULT NULL,
  `x` int(11) DEFAULT NULL,
  `y` int(11) DEFAULT NULL,
  `we,ird` int(11) DEFAULT NULL,
  PRIMARY KEY (`id`),
  KEY `pid` (`pid`),
  KEY `xy` (`x`,`y`),
  CONSTRAINT `fk,1``(` FOREIGN KEY (`pid`) REFERENCES `t09_parent` (`id`) ON DELETE CASCADE ON UPDATE SET NULL,
  CONSTRAINT `fk2` FOREIGN KEY (`x`, `y`) REFERENCES `t09_parent` (`x`, `y`),
  CONSTRAINT `ck` CHECK (`x` > 0 and `we,ird` <> 3)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci
;
CREATE TABLE `t13_part` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `d` date NOT NULL,
  `s` varchar(20) DEFAULT NULL,
  PRIMARY KEY (`id`,`d`),
  UNIQUE KEY `u` (`d`,`s`,`id`),
  KEY `s` (`s`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci
 PARTITION BY RANGE (year(`d`))
(PARTITION `p0` VALUES LESS THAN (2000) ENGINE = InnoDB,
 PARTITION `p1` VALUES LESS THAN MAXVALUE COMMENT = 'a)b\'c' ENGINE = InnoDB)
;
CREATE TABLE `t24_fts` (
  `FTS_DOC_ID` bigint(20) unsigned NOT NULL AUTO_INCREMENT,
  `id` int(11) NOT NULL,
  `t` text DEFAULT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `FTS_DOC_ID_INDEX` (`FTS_DOC_ID`),
  KEY `tt` (`t`(5)),
  FULLTEXT KEY `t` (`t`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci
;
CREATE TABLE `t25_part2` (
  `id` int(11) NOT NULL,
  `s` varchar(20) NOT NULL,
  PRIMARY KEY (`id`,`s`),
  KEY `s` (`s`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci
 PARTITION BY LIST  COLUMNS(`s`)
SUBPARTITION BY HASH (`id`)
SUBPARTITIONS 2
(PARTITION `p1` VALUES IN ('a)','b'',(') ENGINE = InnoDB,
 PARTITION `p2` VALUES IN ('ENGINE=MyISAM') ENGINE = InnoDB)
;
