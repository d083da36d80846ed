/* Record the files that native code opens, which raise no event in Python.
 *
 * Loaded by LD_PRELOAD before the C library, whose functions these hide. `native_opens_start` begins to record and
 * `native_opens_stop` ends it and returns the record: for each call a line "FLAGS PATH", with the flags of open(2) in
 * decimal and an absolute path. A path with a line break is left out of the record, and so are calls beyond the limit;
 * `native_opens_lost` returns how many.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMIT (64u << 20) /* bytes */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile int recording;
static char *text;
static size_t used, size;
static int lost;

static void record(int folder, const char *path, int flags) {
    char line[2 * 4096 + 64], base[4096] = "", link[64];
    if (!recording || path == NULL)
        return;
    if (path[0] != '/') {
        ssize_t length;
        snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
        length = readlink(link, base, sizeof base - 2);
        if (length < 0)
            return;
        base[length] = '/';
        base[length + 1] = 0;
    }
    int written = snprintf(line, sizeof line, "%d %s%s\n", flags, base, path);
    pthread_mutex_lock(&mutex);
    if (written >= (int)sizeof line || strchr(path, '\n') || used + written >= LIMIT) {
        lost++;
    } else {
        if (used + written + 1 > size) {
            size_t wanted = size ? 2 * size : 1 << 16;
            char *grown = realloc(text, wanted + written + 1);
            if (grown == NULL) {
                lost++;
                pthread_mutex_unlock(&mutex);
                return;
            }
            text = grown;
            size = wanted + written + 1;
        }
        memcpy(text + used, line, written + 1);
        used += written;
    }
    pthread_mutex_unlock(&mutex);
}

void native_opens_start(void) {
    used = 0;
    lost = 0;
    recording = 1;
}

const char *native_opens_stop(void) {
    recording = 0;
    return text && used ? text : "";
}

int native_opens_lost(void) { return lost; }

/* The mode is there only if the call may create a file (open(2)). */
#define MODE(flags, mode)                                                                                              \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                           \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        static int (*next)(const char *, int, ...);                                                                    \
        MODE(flags, mode)                                                                                              \
        if (!next)                                                                                                     \
            next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name);                                           \
        record(AT_FDCWD, path, flags);                                                                                 \
        return next(path, flags, mode);                                                                                \
    }

#define OPENAT(name)                                                                                                   \
    int name(int folder, const char *path, int flags, ...) {                                                           \
        static int (*next)(int, const char *, int, ...);                                                               \
        MODE(flags, mode)                                                                                              \
        if (!next)                                                                                                     \
            next = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name);                                      \
        record(folder, path, flags);                                                                                   \
        return next(folder, path, flags, mode);                                                                        \
    }

#define FOPEN(name)                                                                                                    \
    FILE *name(const char *path, const char *mode) {                                                                   \
        static FILE *(*next)(const char *, const char *);                                                              \
        if (!next)                                                                                                     \
            next = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, #name);                                   \
        record(AT_FDCWD, path, mode_flags(mode));                                                                      \
        return next(path, mode);                                                                                       \
    }

static int mode_flags(const char *mode) {
    int both = mode && strchr(mode, '+') != NULL;
    switch (mode ? mode[0] : 'r') {
    case 'w':
        return (both ? O_RDWR : O_WRONLY) | O_CREAT | O_TRUNC;
    case 'a':
        return (both ? O_RDWR : O_WRONLY) | O_CREAT | O_APPEND;
    default:
        return both ? O_RDWR : O_RDONLY;
    }
}

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)

/* What open and openat become where the program was built with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }
int __openat_2(int folder, const char *path, int flags) { return openat(folder, path, flags); }
int __openat64_2(int folder, const char *path, int flags) { return openat64(folder, path, flags); }
