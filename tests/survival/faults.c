/* Preloaded into a role: errors of a disk and jumps of the clock, as FAULT and CLOCK_JUMP in its environment say.

   FAULT = "operation errno allowed path": operation read, write, sync or open; after so many allowed calls on files whose path has
   that text every further call fails. A write that fails first takes half of its bytes, as a disk that fills up does.
   CLOCK_JUMP = seconds: every other reading of the wall clock is that far off. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static long calls, readings;

static const char *path_of(int fd, char *place, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, place, size - 1);
    place[n < 0 ? 0 : n] = 0;
    return place;
}

/* The errno of this call, or 0. */
static int fails(const char *operation, const char *path, int fd) {
    const char *told = getenv("FAULT");
    char wanted[16], text[256], place[4096];
    int error;
    long allowed;
    if (!told || sscanf(told, "%15s %d %ld %255s", wanted, &error, &allowed, text) != 4 || strcmp(wanted, operation)) return 0;
    if (!strstr(path ? path : path_of(fd, place, sizeof place), text)) return 0;
    return __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST) < allowed ? 0 : error;
}

#define REAL(name) ({ static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })
#define TRY(operation, fd) do { int e = fails(operation, NULL, fd); if (e) { errno = e; return -1; } } while (0)

ssize_t write(int fd, const void *data, size_t size) {
    int e = fd > 2 ? fails("write", NULL, fd) : 0;
    if (e) {
        if (size > 1 && e == ENOSPC) { ssize_t half = REAL(write)(fd, data, size / 2); if (half < 0) return half; }
        errno = e;
        return -1;
    }
    return REAL(write)(fd, data, size);
}
ssize_t writev(int fd, const struct iovec *parts, int count) { TRY("write", fd); return REAL(writev)(fd, parts, count); }
ssize_t read(int fd, void *data, size_t size) { if (fd > 2) TRY("read", fd); return REAL(read)(fd, data, size); }
ssize_t pread64(int fd, void *data, size_t size, off64_t at) { TRY("read", fd); return REAL(pread64)(fd, data, size, at); }
ssize_t pread(int fd, void *data, size_t size, off_t at) { TRY("read", fd); return REAL(pread)(fd, data, size, at); }
int fsync(int fd) { TRY("sync", fd); return REAL(fsync)(fd); }

static int opened(const char *path, int flags, mode_t mode, int (*real)(const char *, int, ...)) {
    int e = fails("open", path, -1);
    if (e) { errno = e; return -1; }
    return real(path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return opened(path, flags, mode, (int (*)(const char *, int, ...))REAL(open));
}
int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return opened(path, flags, mode, (int (*)(const char *, int, ...))REAL(open64));
}

int clock_gettime(clockid_t clock, struct timespec *out) {
    const char *told = clock == CLOCK_REALTIME ? getenv("CLOCK_JUMP") : NULL;
    int code = REAL(clock_gettime)(clock, out);
    if (told && __atomic_fetch_add(&readings, 1, __ATOMIC_SEQ_CST) % 2) out->tv_sec += atol(told);
    return code;
}
