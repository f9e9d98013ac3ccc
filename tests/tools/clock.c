// Lets a process believe that it is another day: `tests/run --dates` loads this into the tests that need no servers, and they
// pass it on to what they start. The clock goes on as ever; it only begins elsewhere. Times of files follow, as a disk has
// the time of the machine. The monotonic clock is left alone, and with it every wait. `faketime` does not do the same: it
// does not know `statx`, so that a repository in a directory would seem to be on another machine whose clock is wrong.
//
// REPRISE_TEST_CLOCK_OFFSET is the number of seconds between the true time and the believed one.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

static time_t offset(void) {
    const char *text = getenv("REPRISE_TEST_CLOCK_OFFSET");
    return text ? atoll(text) : 0;
}

// The function of the same name that would be called without this one.
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *now) {
    int code = REAL(clock_gettime)(clock, now);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int code = REAL(gettimeofday)(now, zone);
    if (code == 0) now->tv_sec += offset();
    return code;
}

time_t time(time_t *out) {
    time_t now = REAL(time)(NULL) + offset();
    if (out) *out = now;
    return now;
}

static int shifted(int code, struct stat *found) {
    if (code == 0) {
        found->st_atim.tv_sec += offset();
        found->st_mtim.tv_sec += offset();
        found->st_ctim.tv_sec += offset();
    }
    return code;
}

int stat(const char *restrict path, struct stat *restrict found) { return shifted(REAL(stat)(path, found), found); }
int lstat(const char *restrict path, struct stat *restrict found) { return shifted(REAL(lstat)(path, found), found); }
int fstat(int file, struct stat *found) { return shifted(REAL(fstat)(file, found), found); }
int fstatat(int at, const char *restrict path, struct stat *restrict found, int flags) {
    return shifted(REAL(fstatat)(at, path, found, flags), found);
}

// The same structure on machines of 64 bits.
int stat64(const char *restrict path, struct stat64 *restrict found) { return stat(path, (struct stat *)found); }
int lstat64(const char *restrict path, struct stat64 *restrict found) { return lstat(path, (struct stat *)found); }
int fstat64(int file, struct stat64 *found) { return fstat(file, (struct stat *)found); }
int fstatat64(int at, const char *restrict path, struct stat64 *restrict found, int flags) {
    return fstatat(at, path, (struct stat *)found, flags);
}

int statx(int at, const char *restrict path, int flags, unsigned mask, struct statx *restrict found) {
    int code = REAL(statx)(at, path, flags, mask, found);
    if (code == 0) {
        found->stx_atime.tv_sec += offset();
        found->stx_mtime.tv_sec += offset();
        found->stx_ctime.tv_sec += offset();
        found->stx_btime.tv_sec += offset();
    }
    return code;
}

// What is to be set, in the time of the disk.
static const struct timespec *unshifted(const struct timespec given[2], struct timespec changed[2]) {
    if (!given) return given;
    for (int n = 0; n < 2; n++) {
        changed[n] = given[n];
        if (given[n].tv_nsec != UTIME_NOW && given[n].tv_nsec != UTIME_OMIT) changed[n].tv_sec -= offset();
    }
    return changed;
}

int futimens(int file, const struct timespec times[2]) {
    struct timespec changed[2];
    return REAL(futimens)(file, unshifted(times, changed));
}

int utimensat(int at, const char *path, const struct timespec times[2], int flags) {
    struct timespec changed[2];
    return REAL(utimensat)(at, path, unshifted(times, changed), flags);
}
